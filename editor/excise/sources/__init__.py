"""What a recipe names elsewhere, brought here and pinned. The client of the Hub is huggingface_hub's own."""
