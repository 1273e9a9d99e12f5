"""What leaves a training run: the model package and its model card."""
