"""Who is written about, what is said of them, and whom each filter takes out: counted, with intervals."""
