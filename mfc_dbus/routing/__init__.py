"""One kernel table: routes, their placements, and steps that can be undone."""
