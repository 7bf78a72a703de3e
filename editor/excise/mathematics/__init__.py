"""Pure tensor functions, one per equation, named and cited after their paper; nothing here knows diffusers."""
