"""SAM3's image model: one file a component, `graph` for their order and wiring."""
