"""What is measured: models with random weights as files, their FLOPs and bytes, and their roofline bounds."""
