"""The engine `overlay`: convolution passes on an accelerator, everything else on the processor."""
