"""The Hugging Face Hub: what is fetched from it and what is published on it. The client is huggingface_hub's own."""
