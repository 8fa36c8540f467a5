"""A long run of everything at once; see __main__.py."""
