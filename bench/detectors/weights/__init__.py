"""Reading what `torch.save` wrote, without running any of its code: pickles, archives, tensors."""
