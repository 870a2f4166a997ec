"""Dumps of sites: XML of Wikipedia and its sisters, and of Stack Exchange."""
