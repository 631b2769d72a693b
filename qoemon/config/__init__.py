"""The files that an operator writes, read with all their errors, and the core's plan and rules made from them."""
