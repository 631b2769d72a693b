"""What was recorded, judged again: replay, charts, tables, and what another configuration would have said."""
