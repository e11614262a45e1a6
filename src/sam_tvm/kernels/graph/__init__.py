"""What is done to a Relax module before its operators become loops, and what such passes share."""
