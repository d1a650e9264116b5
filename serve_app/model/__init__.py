"""The model: its artifact (bundle), where it comes from (store) and how it answers (classifier)."""
