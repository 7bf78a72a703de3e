"""What the report is made of: pictures, figures, words and templates. Nothing here measures anything."""
