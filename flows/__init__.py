"""Stories: one file, one flow."""
