"""The models in PyTorch; the only definition of them."""
