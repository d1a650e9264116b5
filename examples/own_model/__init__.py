"""Model of your own: a folder as Hugging Face saves it, served and queried."""
