"""What a person looks at: one HTML file of a run, or of one applicant, with everything in it."""
