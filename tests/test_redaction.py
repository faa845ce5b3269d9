"""What is hidden of texts, and what is not."""

from __future__ import annotations

import pytest

from spark_shap.redaction import redact_text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("sftp://me:hunter2@host/a", "sftp://***@host/a"),
        ("https://me:hun@ter2@host/a?b=c", "https://***@host/a?b=c"),
        ("https://hunter2@host/a", "https://***@host/a"),
        ("s3a://AKIA1:hun/ter+2@bucket/x.parquet: no", "s3a://***@bucket/x.parquet: no"),
        (
            "jdbc:postgresql://h/d?user=x&password=hunter2&ssl=true",
            "jdbc:postgresql://h/d?user=x&password=***&ssl=true",
        ),
        ("jdbc:oracle:thin:scott/hunter2@//host", "jdbc:oracle:thin:***@//host"),
        ("https://a.blob.core.windows.net/c/x?sv=1&sig=hunter2%3D", "https://a.blob.core.windows.net/c/x?sv=1&sig=***"),
        ("AccountName=a;AccountKey=hunter2==;EndpointSuffix=e", "AccountName=a;AccountKey=***;EndpointSuffix=e"),
        ("https://b/x?X-Amz-Signature=hunter2&X-Amz-Expires=9", "https://b/x?X-Amz-Signature=***&X-Amz-Expires=***"),
        ("-Djavax.net.ssl.trustStorePassword=hunter2 -Da=b", "-Djavax.net.ssl.trustStorePassword=*** -Da=b"),
        ("fs.s3a.secret.key=hunter2, region=eu", "fs.s3a.secret.key=***, region=eu"),
        ("api_key='hunter 2'", "api_key=***"),
        ('{"client_secret": "hunter2", "user": "me"}', '{"client_secret": ***, "user": "me"}'),
        ("{'spark.my.password': 'hunter2'}", "{'spark.my.password': ***}"),
        ("Authorization: Bearer eyJhbGciOi.hunter2", "Authorization: Bearer ***"),
        ("with dapi0123456789abcdef0123456789abcdef", "with ***"),
        ("key AKIAABCDEFGHIJKLMNOP.", "key ***."),
        ("-----BEGIN RSA PRIVATE KEY-----\nhunter2\n-----END RSA PRIVATE KEY-----\nx", "***\nx"),
    ],
)
def test_hidden(text: str, shown: str) -> None:
    assert redact_text(text) == shown


@pytest.mark.parametrize(
    "text",
    [
        "abfss://lake@account.dfs.core.windows.net/out",
        "hdfs://nn:8020/data/2026@v2",
        "applicants.key: is required",
        "config: model.sha256: must be 64 hexadecimal digits",
        "key = 17 and age >= 21",
        "shard 1 of 3: 1,000 rows, 2 rejected, 10.0 s, 100 rows/s, 6,500 evaluations/s, 25.0 s left",
        "models:/scorecard/7 at 12:30 by a@b.example",
        "basic classification of the secret",
    ],
)
def test_not_hidden(text: str) -> None:
    assert redact_text(text) == text
