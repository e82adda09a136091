"""What makes assets: one provider a module, behind one Protocol."""
