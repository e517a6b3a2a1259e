"""What reading in the tool's order gains and costs: waiting times by formula and by simulation."""
