"""Figures that can be believed: counted by the contract, with intervals over patients or groups."""
