"""Reading what `torch.save` and safetensors wrote, without running any code in it."""
