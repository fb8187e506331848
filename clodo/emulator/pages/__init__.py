"""Pages: projects, direct uploads, and the sites they become."""
