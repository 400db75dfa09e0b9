"""A system applied to pictures: translations in parts, sample grids."""
