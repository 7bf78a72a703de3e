"""The models under test, the images they draw when asked, and the measures of those."""
