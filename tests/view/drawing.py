"""What a figure shows, for tests of pictures."""

import torch


def pixels(figure):
    """What is drawn, `(height, width, 3)`, through the backend that needs no display."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    width, height = canvas.get_width_height()
    return torch.frombuffer(bytearray(canvas.buffer_rgba()), dtype=torch.uint8).reshape(height, width, 4)[..., :3]


def share(picture, colour):
    wanted = torch.tensor([int(colour[i : i + 2], 16) for i in (1, 3, 5)])
    return float((picture == wanted).all(-1).float().mean())
