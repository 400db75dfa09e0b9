"""Uses of a trained run: translation, the studio, import and export."""
