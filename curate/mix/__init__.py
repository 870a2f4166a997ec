"""Which of the documents, and how many: samples and splits."""
