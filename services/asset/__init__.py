"""The asset service: generates assets, keeps them, and hands them out."""
