"""What LatentLoop is compared with, and LatentLoop itself, behind one interface."""
