"""Events that were not delivered: where they are kept, and how they are sent again."""
