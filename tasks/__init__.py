"""Steps: thin wrappers that give one library call a name in the Prefect UI."""
