from . import (
    arrays as arrays,
    bound as bound,
    demo as demo,
    denoising as denoising,
    dist as dist,
    export as export,
    files as files,
    io as io,
    latent as latent,
    metrics as metrics,
    model as model,
    nn as nn,
    noise as noise,
    objective as objective,
    plot as plot,
    synth as synth,
    train as train,
)
from .arrays import cut as cut
from .denoising import denoise as denoise, denoise_archive as denoise_archive
from .io import (
    ReadError as ReadError,
    read as read,
    read_tree as read_tree,
    to_stream as to_stream,
    write as write,
)
from .latent import encode as encode, generate as generate
from .model import (
    Autoencoder as Autoencoder,
    autoencoder as autoencoder,
    denoiser as denoiser,
    load as load,
    pretrained as pretrained,
    save as save,
)
from .nn import device as device
from .noise import (
    AddNoise as AddNoise,
    Blur as Blur,
    DropChannels as DropChannels,
    Gaps as Gaps,
    GaussianNoise as GaussianNoise,
    Mask as Mask,
    Shift as Shift,
    Spikes as Spikes,
)
from .objective import Cyclic as Cyclic, Objective as Objective, WarmUp as WarmUp
from .train import Anneal as Anneal, cache as cache, fit as fit, fit_stacked as fit_stacked
