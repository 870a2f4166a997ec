"""The pages of `curate browse`: a web server of this machine over what curate/browse knows."""
