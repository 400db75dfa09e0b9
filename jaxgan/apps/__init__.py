"""What is done with a trained run: translating, the studio, import and export."""
