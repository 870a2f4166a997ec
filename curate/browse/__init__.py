"""What `curate browse` shows, without a web in it: narrow columns over the ledger, filters, search, one document, what-if."""
