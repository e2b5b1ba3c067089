"""The networks of the training step's benchmark in PyTorch: ``(batch, bins, frames)`` magnitudes to
``(batch, sources, bins, frames)`` outputs that are not negative."""

from __future__ import annotations

from contextlib import nullcontext


def lstm(torch, bins, width, layers, num_sources):
    """Stacked LSTM layers and ReLU heads."""

    class Network(torch.nn.Module):  # type: ignore[name-defined]
        def __init__(self):
            super().__init__()
            self.lstm = torch.nn.LSTM(bins, width, layers, batch_first=True)
            self.heads = torch.nn.Linear(width, num_sources * bins)

        def forward(self, size):
            y = torch.relu(self.heads(self.lstm(size.mT)[0])).unflatten(-1, (num_sources, bins))
            return y.permute(0, 2, 3, 1)

    return Network()


def unet(torch, levels, filters, num_sources):
    """Jansson's U-Net, channels last; the highest bin is left out and frames are padded."""
    nn = torch.nn

    class Network(nn.Module):  # type: ignore[name-defined]
        def __init__(self):
            super().__init__()
            widths = [filters << level for level in range(levels)]
            inputs = [1, *widths[:-1]]
            same = dict(kernel_size=5, stride=2, padding=2)
            down = [nn.Conv2d(a, b, bias=False, **same) for a, b in zip(inputs, widths, strict=True)]
            self.down = nn.ModuleList(down)
            self.down_norm = nn.ModuleList([nn.BatchNorm2d(width) for width in widths])
            outputs = [num_sources, *widths[:-1]]
            skips = [2 * width for width in widths[:-1]] + widths[-1:]
            up = [
                nn.ConvTranspose2d(a, b, output_padding=1, bias=b == num_sources, **same)
                for a, b in zip(skips, outputs, strict=True)
            ]
            self.up = nn.ModuleList(up)
            self.up_norm = nn.ModuleList([nn.BatchNorm2d(width) for width in widths[:-1]])

        def forward(self, size):
            bins, frames = size.shape[1:]
            multiple = 1 << levels
            x = nn.functional.pad(size[:, None, : bins - 1], (0, -frames % multiple))
            x = x.contiguous(memory_format=torch.channels_last)
            skips = []
            for convolve, norm in zip(self.down, self.down_norm, strict=True):
                x = nn.functional.leaky_relu(norm(convolve(x)), 0.2)
                skips.append(x)
            for level in reversed(range(levels)):
                x = x if level == levels - 1 else torch.cat([x, skips[level]], 1)
                x = self.up[level](x)
                if level:
                    x = torch.relu(self.up_norm[level - 1](x))
                    x = nn.functional.dropout(x, 0.5) if levels - level <= 3 else x
            return nn.functional.pad(torch.sigmoid(x)[..., :frames], (0, 0, 0, 1), mode="replicate")

    return Network().to(memory_format=torch.channels_last)


def dpcrn(torch, config, bins, num_sources):
    """A causal DPCRN with the options of ``config``; the highest bin is left out."""
    nn, width, channels = torch.nn, config.width, config.channels

    class Block(nn.Module):  # type: ignore[name-defined]
        def __init__(self):
            super().__init__()
            size = channels[-1]
            self.bins = nn.LSTM(size, width // 2, batch_first=True, bidirectional=True)
            self.frames = nn.LSTM(size, width, batch_first=True)
            self.back = nn.ModuleList([nn.Linear(width, size) for _ in range(2)])
            self.norm = nn.ModuleList([nn.LayerNorm(size) for _ in range(2)])

        def forward(self, x):  # (batch, frames, bins, channels)
            found = self.bins(x.flatten(0, 1))[0].unflatten(0, x.shape[:2])
            x = x + self.norm[0](self.back[0](found))
            turned = x.transpose(1, 2)
            found = self.frames(turned.flatten(0, 1))[0].unflatten(0, turned.shape[:2]).transpose(1, 2)
            return x + self.norm[1](self.back[1](found))

    class Network(nn.Module):  # type: ignore[name-defined]
        def __init__(self):
            super().__init__()
            inputs, outputs = [1, *channels[:-1]], [num_sources, *channels[:-1]]
            frames = [1] + [2] * (len(channels) - 1)
            shapes = zip(inputs, channels, frames, strict=True)
            down = [nn.Conv2d(2 * a, b, (f, 3)) for a, b, f in shapes]
            up = [nn.Conv2d(2 * a, 2 * b, (2, 3)) for a, b in zip(channels, outputs, strict=True)]
            self.down, self.up = nn.ModuleList(down), nn.ModuleList(up)
            self.down_norm = nn.ModuleList([nn.BatchNorm2d(c) for c in channels])
            self.up_norm = nn.ModuleList([nn.BatchNorm2d(c) for c in channels[:-1]])
            self.input_norm = nn.BatchNorm1d(bins)
            self.blocks = nn.Sequential(*[Block() for _ in range(config.blocks)])

        def forward(self, size):
            x = self.input_norm(size)[:, None, : bins - 1].mT  # (batch, channels, frames, bins)
            skips = []
            for convolve, norm in zip(self.down, self.down_norm, strict=True):
                x = x.unflatten(-1, (-1, 2)).movedim(-1, 1).flatten(1, 2)
                x = nn.functional.pad(x, (1, 1, convolve.kernel_size[0] - 1, 0))
                x = nn.functional.leaky_relu(norm(convolve(x)), 0.2)
                skips.append(x)
            x = self.blocks(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
            for level in reversed(range(len(channels))):
                x = self.up[level](nn.functional.pad(torch.cat([x, skips[level]], 1), (1, 1, 1, 0)))
                x = x.unflatten(1, (2, -1)).movedim(1, -1).flatten(-2)
                x = torch.relu(self.up_norm[level - 1](x)) if level else x
            return nn.functional.pad(torch.sigmoid(x.mT), (0, 0, 0, 1), mode="replicate")

    return Network()


def spleeter(torch, levels=6, filters=16):
    """Spleeter's U-Net for one source of stereo, channels last; sides are multiples of ``2 ** levels``."""
    nn = torch.nn

    class Network(nn.Module):  # type: ignore[name-defined]
        def __init__(self):
            super().__init__()
            widths = [filters << level for level in range(levels)]
            same = dict(kernel_size=5, stride=2, padding=2)
            down = [nn.Conv2d(a, b, **same) for a, b in zip([2, *widths[:-1]], widths, strict=True)]
            self.down = nn.ModuleList(down)
            self.down_norm = nn.ModuleList([nn.BatchNorm2d(width) for width in widths[:-1]])
            outputs = [1, *widths[:-1]]
            skips = [2 * width for width in widths[:-1]] + widths[-1:]
            up = [
                nn.ConvTranspose2d(a, b, output_padding=1, **same)
                for a, b in zip(skips, outputs, strict=True)
            ]
            self.up = nn.ModuleList(up)
            self.up_norm = nn.ModuleList([nn.BatchNorm2d(width) for width in outputs])
            self.last = nn.Conv2d(1, 2, 4, dilation=2, padding=3)

        def forward(self, size):
            x, skips = size.contiguous(memory_format=torch.channels_last), []
            for level, convolve in enumerate(self.down):
                if level:
                    x = nn.functional.leaky_relu(self.down_norm[level - 1](x), 0.2)
                x = convolve(x)
                skips.append(x)
            for level in reversed(range(levels)):
                x = x if level == levels - 1 else torch.cat([skips[level], x], 1)
                x = self.up_norm[level](torch.relu(self.up[level](x)))
            return torch.sigmoid(self.last(x))

    return Network().to(memory_format=torch.channels_last)


def cnn_autoencoder(torch, bins, frames, num_sources):
    """The CNN auto-encoder at its published sizes, by PyTorch's own (transposed) convolutions."""
    nn = torch.nn
    length = frames - 149

    class Network(nn.Module):  # type: ignore[name-defined]
        def __init__(self):
            super().__init__()
            self.encoder = nn.Sequential(
                nn.Conv2d(1, 50, (1, bins)),
                nn.Conv2d(50, 30, (150, 1)),
                nn.Flatten(),
                nn.Linear(30 * length, 128),
                nn.ReLU(),
            )
            decoders = [
                nn.Sequential(
                    nn.Linear(128, 30 * length),
                    nn.ReLU(),
                    nn.Unflatten(1, (30, length, 1)),
                    nn.ConvTranspose2d(30, 50, (150, 1)),
                    nn.ConvTranspose2d(50, 1, (1, bins)),
                )
                for _ in range(num_sources)
            ]
            self.decoders = nn.ModuleList(decoders)

        def forward(self, size):
            code = self.encoder(size.mT[:, None])
            return torch.relu(torch.cat([decode(code) for decode in self.decoders], 1)).mT

    return Network()


def training_step(torch, network, optimizer, signal, transform, autocast=nullcontext()):
    """A training step from waveforms: STFT, network, ratio mask, mean squared error of magnitudes, optimizer.

    Args:
      torch: the module.
      network, optimizer: of PyTorch.
      signal: ``(batch, sources, samples)``; the step is computed where it is.
      transform: its ``n_fft`` and ``hop_length``.
      autocast: a context in which the network alone is computed, in other numbers say.

    Returns:
      A call that takes a step and returns the loss, as a tensor.
    """
    n_fft, hop = transform.n_fft, transform.hop_length
    window = torch.hann_window(n_fft, device=signal.device)

    def magnitude(x):
        how = dict(window=window, pad_mode="constant", return_complex=True)
        return torch.stft(x.flatten(0, -2), n_fft, hop, **how).abs().unflatten(0, x.shape[:-1])

    def step():
        optimizer.zero_grad(set_to_none=True)
        size = magnitude(signal.sum(1))
        with autocast:
            y = network(size)
        y = y.float()
        estimate = y / (y.sum(1, keepdim=True) + 1e-12) * size[:, None]
        loss = (estimate - magnitude(signal)).square().mean((2, 3)).sum(-1).mean()
        loss.backward()
        optimizer.step()
        return loss.detach()

    return step
