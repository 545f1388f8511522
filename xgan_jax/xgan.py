"""XGAN: two auto-encoders whose middle is shared; to translate is to cross them.

Royer et al. 2017, "XGAN: Unsupervised Image-to-Image Translation for Many-to-Many Mappings"
(arXiv 1711.05139). With encoders e and decoders d, a picture x of domain s becomes d_t(e_s(x)) in
domain t. The losses below stand in the order of the paper; what it leaves open (kernel,
normalisation, the classifier's layers, weights) is a field of `Networks` or `Weights`, and
`docs/choices.md` says why each default is what it is.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Key

from xgan_jax import losses, method
from xgan_jax.config import Config, choice, number, require
from xgan_jax.method import (
    Direction,
    Embeddings,
    Extra,
    Images,
    Losses,
    Method,
    Moment,
    Params,
    Terms,
    apply,
    load_frozen,
    load_teacher,
    weighted,
)
from xgan_jax.nets.decoder import Decoder
from xgan_jax.nets.discriminator import Discriminator, DomainClassifier, differentiable_augmentation
from xgan_jax.nets.encoder import Encoder

_ACTIVATIONS = ("leaky_relu", "relu", "elu", "silu")


@dataclass
class Networks:
    """The networks of XGAN's appendix (table 1)."""

    width: float = number(1.0, above=0)  # multiplies the channels of encoder and decoder
    discriminator_width: float = number(1.0, above=0)  # and of the discriminators
    embedding_size: int = number(1024, least=1)
    # Above 1: no fully connected layers, the embedding is a map of this side.
    embedding_side: int = choice(1, (1, 4, 8, 16))
    blocks: int = number(0, least=0)  # residual blocks before and after the embedding, shared
    private_blocks: int = number(0, least=0)  # residual blocks of a domain's own, next to the shared layers
    resize: bool = False  # the decoder enlarges by nearest neighbour and 3x3 convolutions: no checkerboards
    kernel: int = choice(4, (3, 4))  # deconv1 is always 4x4
    norm: str = choice("instance", ("instance", "batch", "none"))
    activation: str = choice("leaky_relu", _ACTIVATIONS)  # of encoder and discriminator
    decoder_activation: str = choice("relu", _ACTIVATIONS)
    discriminator_spectral: bool = False  # spectral normalisation of the discriminators
    discriminator_augment: bool = False  # DiffAugment before the discriminators, for small datasets
    # Hidden layers of the domain classifier, embedding_size wide; on maps 64.
    classifier_layers: int = number(3, least=0)
    classifier_normalise: bool = True  # it sees embeddings at unit scale
    teacher: str = ""  # "package.module:function", see `method.load_teacher`
    reader: str = "xgan_jax.readers.judge:as_reader"  # of `weights.attributes`; any as that one


@dataclass
class Weights:
    """The weight of each loss, and its form where sources disagree. A weight of zero costs nothing."""

    reconstruction: float = 1.0
    domain_adversarial: float = 1.0
    semantic: float = 1.0
    gan: float = 1.0
    teacher: float = 0.0
    # Beside the paper:
    contrastive: float = 0.0  # L_sem as a choice among the batch's embeddings (CUT)
    cycle: float = 0.0  # pixels of the round trip (CycleGAN)
    identity: float = 0.0  # d_t(e_s(x_t)) is x_t (CycleGAN)
    attributes: float = 0.0  # what a network learnt on the labels reads stays (DTN's f-constancy)
    total_variation: float = 0.0  # of the translations (DTN)
    r1: float = 0.0  # gradient penalty of the discriminators on real pictures
    # It is computed and applied every so many steps, times as strong (StyleGAN2, appendix B).
    r1_every: int = number(16, least=1)
    # Forms:
    reconstruction_distance: str = choice("l2norm", ("mse", "l1", "l2norm"))  # l2norm is the paper's
    semantic_distance: str = choice("l1", ("l1", "l1_sum", "l2"))
    semantic_detach: bool = False  # no gradient into the source's embedding
    semantic_standardise: bool = True  # in units of the embedding's spread
    gan_form: str = choice("lsgan", ("lsgan", "ns", "hinge"))  # ns is the paper's cross-entropy
    gan_directions: str = choice("both", ("both", "forward"))  # forward: into every domain but the first
    # reversal is the paper's; confusion works also where the classifier is sure.
    domain_form: str = choice("reversal", ("reversal", "confusion"))
    reversal: float = 1.0  # strength of the gradient reversal, or of the confusion
    ramp_start: int = 0  # the reversal and L_sem grow from 0 to their weight by DANN's schedule,
    ramp_steps: int = 0  # from step ramp_start, over ramp_steps; 0, 0 is constant


class XGAN(Method):
    """Encoders e_s and decoders d_t with a shared middle, a classifier of embeddings, discriminators D_t."""

    def __init__(self, config: Config):
        super().__init__(config)
        n: Networks = config.networks
        w: Weights = config.weights
        self.networks, self.weights = n, w
        domains, size, dtype, side = self.domains, self.size, self.dtype, n.embedding_side
        # fmt: off
        self.encoder = Encoder(
            domains, size, n.width, n.embedding_size, side, n.blocks, n.private_blocks,
            n.kernel, n.norm, n.activation, dtype,
        )
        self.decoder = Decoder(
            domains, size, n.width, side, n.blocks, n.private_blocks, n.resize,
            n.kernel, n.norm, n.decoder_activation, dtype,
        )
        self.discriminator = Discriminator(
            size, n.discriminator_width, n.kernel, n.norm, n.activation, dtype, n.discriminator_spectral
        )
        self.classifier = DomainClassifier(
            len(domains), n.embedding_size if side == 1 else 64, n.classifier_layers, n.classifier_normalise,
            dtype, side,
        )
        # fmt: on
        self.frozen_teacher = load_teacher(config) if w.teacher else None
        # The domains that have a discriminator.
        self.judged = (domains if w.gan_directions == "both" else domains[1:]) if w.gan else ()
        classifier = ("classifier",) if w.domain_adversarial else ()
        self.players = {"generator": ("encoder", "decoder", *classifier)}
        if self.judged:
            self.players["discriminator"] = ("discriminator",)
        # Every domain with itself, as `directions` has every domain with every other.
        self.own = tuple((domain, domain) for domain in domains)
        # For n domains, n - 1 rounds in which every domain is the target of exactly one other.
        n_domains = range(len(domains))
        self.rounds = [tuple((domains[i - k], domains[i]) for i in n_domains) for k in n_domains[1:]]
        self.in_rounds = [direction for directions in self.rounds for direction in directions]

    @cached_property
    def reader(self) -> tuple[Any, Any]:
        """Of attributes. Not among the parameters: a run translates where the labels are not at hand."""
        with jax.ensure_compile_time_eval():
            return load_frozen(self.config, "reader")

    def prepare(self) -> None:
        if self.weights.attributes:
            _ = self.reader

    def delays(self) -> dict[str, tuple[int, int]]:
        start = self.weights.ramp_start
        return {"weights.ramp_start": (start, start)} if start else {}

    @property
    def drawn(self) -> tuple[Direction, ...]:
        """What a step draws. The same for both players, so that it is computed once."""
        w = self.weights
        every = w.semantic or w.contrastive or w.cycle or w.attributes or w.total_variation
        own = self.own if w.reconstruction or w.attributes else ()
        return own + tuple((s, t) for s, t in self.directions if every or t in self.judged)

    # The networks applied.

    def init(self, key: Key[Array, ""]) -> tuple[Params, Extra]:
        keys = jax.random.split(key, 3 + len(self.domains))
        pictures = {domain: self.blank() for domain in self.domains}
        z = {domain: jnp.zeros((1, self.networks.embedding_size)) for domain in self.domains}
        made = {
            "encoder": self.encoder.init(keys[0], pictures),
            "decoder": self.decoder.init(keys[1], z, self.own),
        }
        params: Params = {name: variables["params"] for name, variables in made.items()}
        if self.weights.domain_adversarial:
            params["classifier"] = self.classifier.init(keys[2], z[self.domains[0]])["params"]
        if self.judged:
            # Batch statistics of discriminators are those of each call, so none are kept.
            params["discriminator"] = {
                domain: self.discriminator.init(k, pictures[domain])["params"]
                for domain, k in zip(self.domains, keys[3:], strict=True)
                if domain in self.judged
            }
        if self.frozen_teacher:
            params["teacher"], _ = self.frozen_teacher
        statistics = {name: v["batch_stats"] for name, v in made.items() if "batch_stats" in v}
        return params, statistics

    def encode(
        self, params: Params, extra: Extra, images: dict[str, Images], train: bool = False
    ) -> tuple[dict[str, Embeddings], Any]:
        """{domain: e of its pictures}, and the encoder's batch statistics after them."""
        z: tuple[dict[str, Embeddings], Any] = apply(
            self.encoder, params["encoder"], extra.get("encoder"), images, train=train
        )
        return z

    def decode(
        self,
        params: Params,
        extra: Extra,
        z: dict[str, Embeddings],
        pairs: tuple[Direction, ...],
        train: bool = False,
    ) -> tuple[dict[Direction, Images], Any]:
        """{(source, target): d_target of z[source]} for `pairs`, and the decoder's statistics after them."""
        pictures: tuple[dict[Direction, Images], Any] = apply(
            self.decoder, params["decoder"], extra.get("decoder"), z, pairs, train=train
        )
        return pictures

    def discriminate(
        self, params: Params, domain: str, images: Images, key: Key[Array, ""]
    ) -> Float[Array, "b"]:
        """D_domain's logits, real above the middle."""
        if self.networks.discriminator_augment:
            images = differentiable_augmentation(images, key)
        variables = {"params": params["discriminator"][domain]}
        logits: Array = self.discriminator.apply(variables, images, mutable=["batch_stats"])[0]
        return logits

    def classify(self, params: Params, z: Embeddings) -> Float[Array, "n d"]:
        """c_dann's logits of the domains; of an embedding, or of each place of a map."""
        logits = self.classifier.apply({"params": params["classifier"]}, z)
        assert isinstance(logits, jax.Array)  # and no state beside it: none is mutable
        return logits

    def embed(self, params: Params, extra: Extra, images: Images, domain: str) -> Embeddings:
        return self.encode(params, extra, {domain: images})[0][domain]

    def generate(self, params: Params, extra: Extra, z: Embeddings, target: str) -> Images:
        return self.decode(params, extra, {target: z}, ((target, target),))[0][target, target]

    def translate(self, params: Params, extra: Extra, images: Images, source: str, target: str) -> Images:
        return self.generate(params, extra, self.embed(params, extra, images, source), target)

    # What each player minimises.

    def generator_losses(self, now: Moment) -> Terms:
        seen, w = Seen(self, now), self.weights
        confusion = w.domain_adversarial * w.reversal if w.domain_form == "confusion" else 0.0
        # In the paper's order; those in the middle grow in.
        terms = weighted(
            seen, {self.reconstruction: w.reconstruction, self.domain_adversarial: w.domain_adversarial}
        )
        terms |= weighted(
            seen,
            {self.confusion: confusion, self.semantic: w.semantic, self.contrastive: w.contrastive},
            seen.growth,
        )
        terms |= weighted(
            seen,
            {
                self.cycle: w.cycle,
                self.gan: w.gan,
                self.teacher: w.teacher,
                self.attributes: w.attributes,
                self.identity: w.identity,
                self.total_variation: w.total_variation,
            },
        )
        return Terms(terms, self.measures(seen), seen.statistics)

    def discriminator_losses(self, now: Moment) -> Terms:
        seen, w = Seen(self, now), self.weights
        terms = weighted(seen, {self.discriminator_gan: w.gan, self.r1: w.r1})
        return Terms(terms, self.discriminator_accuracy(seen), {})

    # The losses of the paper.

    def reconstruction(self, seen: "Seen") -> Losses:
        """L_rec = E ||x - d_s(e_s(x))||_2 (section 3.1, eq. 1): auto-encoders keep what is in a picture."""
        return {
            f"reconstruction/{domain}": losses.reconstruction(
                seen.batch[domain], seen.pictures[domain, domain], self.weights.reconstruction_distance
            )
            for domain in self.domains
        }

    def domain_adversarial(self, seen: "Seen") -> Losses:
        """L_dann = E cross-entropy(c_dann(e_s(x)), s) (section 3.1, eq. 2): domains fill the same subspace.

        The classifier minimises; the encoders, behind the gradient reversal, maximise. In the form
        "confusion" it is the classifier's alone.
        """
        return {
            f"domain_adversarial/{domain}": losses.domain_adversarial(seen.answers[domain], i)
            for i, domain in enumerate(self.domains)
        }

    def confusion(self, seen: "Seen") -> Losses:
        """L_dann for the encoders where it is no reversal (Tzeng et al. 2015, eq. 4): to the classifier as it
        is, all domains should look alike."""
        frozen = lax.stop_gradient(seen.params)
        return {
            f"confusion/{domain}": losses.domain_confusion(self.classify(frozen, seen.z[domain]))
            for domain in self.domains
        }

    def semantic(self, seen: "Seen") -> Losses:
        """L_sem = E ||e_s(x) - e_t(d_t(e_s(x)))||_1 (section 3.1, eq. 4): a translation has the embedding of
        what it was made from."""
        terms = {}
        for s, t in self.in_rounds:
            z, again = seen.source(s), seen.z_translated[s, t]
            if self.weights.semantic_standardise:
                z, again = seen.standardised[s, t]
            terms[f"semantic/{s}2{t}"] = losses.semantic(z, again, self.weights.semantic_distance)
        return terms

    def gan(self, seen: "Seen") -> Losses:
        """L_gan (section 3.1, eq. 5): translations look like the target domain."""
        return {
            f"gan/{s}2{t}": losses.gan_generator(
                self.discriminate(seen.params, t, seen.pictures[s, t], seen.of_fake), self.weights.gan_form
            )
            for s, t in self.directions
            if t in self.judged
        }

    def teacher(self, seen: "Seen") -> Losses:
        """L_teach = E ||T(x) - e_1(x)||_1 (section 3.1, eq. 6): the embedding is a frozen one's, on the
        first domain only."""
        assert self.frozen_teacher is not None
        _, embedding = self.frozen_teacher
        first = self.domains[0]
        target = embedding(lax.stop_gradient(seen.params["teacher"]), seen.batch[first])
        return {f"teacher/{first}": losses.teacher(seen.z[first], target)}

    # Beside the paper.

    def contrastive(self, seen: "Seen") -> Losses:
        """L_sem as a question: which embedding of the batch is a translation's (Park et al. 2020, eq. 3)."""
        places = self.networks.embedding_side**2
        return {
            f"contrastive/{s}2{t}": losses.semantic_contrastive(
                seen.source(s), seen.z_translated[s, t], places
            )
            for s, t in self.in_rounds
        }

    def cycle(self, seen: "Seen") -> Losses:
        """E |x - d_s(e_t(d_t(e_s(x))))| over pixels (Zhu et al. 2017, eq. 2)."""
        return {f"cycle/{s}2{t}": losses.cycle(seen.batch[s], seen.returned[s, t]) for s, t in self.in_rounds}

    def identity(self, seen: "Seen") -> Losses:
        """E |x_t - d_t(e_s(x_t))| (Zhu et al. 2017, section 5.2): a picture of the target stays as it is."""
        return {
            f"identity/{s}2{t}": losses.identity(seen.batch[t], seen.same[s, t]) for s, t in self.in_rounds
        }

    def attributes(self, seen: "Seen") -> Losses:
        """What a frozen network reads from a picture it reads from its translations, and from its
        reconstruction, which loses small things first (Taigman et al. 2016, eq. 5, of labels)."""
        frozen, read = self.reader
        wanted = {domain: read(frozen, seen.batch[domain], domain) for domain in self.domains}
        terms = {}
        for i, (s, t) in enumerate((*self.directions, *self.own)):
            found = read(frozen, seen.pictures[s, t], t, jax.random.fold_in(seen.of_reader, i))
            agreements = (losses.agreement(found[name], value) for name, value in wanted[s].items())
            terms[f"attributes/{s if s == t else f'{s}2{t}'}"] = sum(agreements, jnp.zeros(()))
        return terms

    def total_variation(self, seen: "Seen") -> Losses:
        """Of the translations (Taigman et al. 2016, eq. 7)."""
        return {
            f"total_variation/{s}2{t}": losses.total_variation(seen.pictures[s, t])
            for s, t in self.directions
        }

    # The discriminators' own.

    def discriminator_gan(self, seen: "Seen") -> Losses:
        """L_gan for D_t (section 3.1, eq. 5): real pictures of t from translations into it."""
        return {
            f"discriminator/{s}2{t}": losses.gan_discriminator(
                seen.of_reals[t], seen.of_fakes[s, t], self.weights.gan_form
            )
            for t in self.judged
            for s in self.domains
            if s != t
        }

    def r1(self, seen: "Seen") -> Losses:
        """R1 (Mescheder et al. 2018, eq. 9), lazily: zero in between, so a log_every that is a multiple of
        r1_every shows it."""
        every = self.weights.r1_every
        due = (seen.step + 1) % every == 0

        def penalty(domain: str) -> Float[Array, ""]:
            with jax.named_scope("penalty"):
                return every * losses.r1(
                    lambda x: self.discriminate(seen.params, domain, x, seen.of_real), seen.batch[domain]
                )

        return {
            f"r1/{domain}": lax.cond(due, lambda domain=domain: penalty(domain), lambda: jnp.zeros(()))
            for domain in self.judged
        }

    # What is watched.

    def measures(self, seen: "Seen") -> Losses:
        """Logged beside the generator's terms: the embedding's spread, how well the classifier tells domains
        apart (chance is 1 / domains), and L_sem in units of the spread, whatever its form."""
        found = {f"embedding_std/{domain}": seen.z[domain].std(0).mean() for domain in self.domains}
        if self.weights.domain_adversarial:
            right = [(seen.answers[domain].argmax(-1) == i).mean() for i, domain in enumerate(self.domains)]
            found["classifier_accuracy"] = jnp.stack(right).mean()
        if self.weights.semantic:
            for s, t in self.in_rounds:
                found[f"semantic_relative/{s}2{t}"] = losses.semantic(*seen.standardised[s, t])
        return found

    def discriminator_accuracy(self, seen: "Seen") -> Losses:
        """How often each discriminator is right, over real pictures and each source's translations alike."""
        middle = 0.5 if self.weights.gan_form == "lsgan" else 0.0
        found = {}
        for t in self.judged:
            right = [(seen.of_reals[t] > middle).mean()]
            right += [(seen.of_fakes[s, t] < middle).mean() for s in self.domains if s != t]
            found[f"discriminator_accuracy/{t}"] = jnp.stack(right).mean()
        return found


class Seen(method.Seen):
    """What XGAN's losses share: each is computed once, when it is first asked for."""

    model: XGAN

    def __init__(self, model: XGAN, now: Moment):
        super().__init__(model, now)
        # Both players have the same keys, so that they see the same augmented translations.
        self.of_real, self.of_fake, self.of_reader = jax.random.split(now.key, 3)

    @cached_property
    def growth(self) -> Float[Array, ""]:
        """How far the reversal and L_sem have grown in, 0 to 1."""
        return losses.ramp(self.step, self.model.weights.ramp_start, self.model.weights.ramp_steps)

    @cached_property
    def encoded(self) -> tuple[dict[str, Embeddings], Any]:
        """Embeddings of the batch, and the encoder's statistics after them."""
        return self.model.encode(self.params, self.extra, self.batch, train=True)

    @cached_property
    def decoded(self) -> tuple[dict[Direction, Images], Any]:
        """What is drawn of them, and the decoder's statistics."""
        wanted = self.model.drawn
        if not wanted:
            return {}, None
        return self.model.decode(self.params, self.extra, self.z, wanted, train=True)

    @property
    def statistics(self) -> Extra:
        """Moved by the first pass over real pictures alone."""
        found = {"encoder": self.encoded[1], "decoder": self.decoded[1]}
        return {name: statistics for name, statistics in found.items() if statistics is not None}

    @property
    def z(self) -> dict[str, Embeddings]:
        """{domain: e_s(x)}."""
        return self.encoded[0]

    @property
    def pictures(self) -> dict[Direction, Images]:
        """{(source, target): d_t(e_s(x))}: reconstructions and translations."""
        return self.decoded[0]

    @cached_property
    def answers(self) -> dict[str, Float[Array, "n d"]]:
        """{domain: c_dann's logits of its embeddings}: behind the gradient reversal, or where there is none
        (`domain_form`) out of the encoders' reach."""
        w, found = self.model.weights, {}
        for domain, z in self.z.items():
            if w.domain_form == "reversal":
                z = losses.reverse_gradient(z, w.reversal * self.growth)
            else:
                z = lax.stop_gradient(z)
            found[domain] = self.model.classify(self.params, z)
        return found

    def source(self, domain: str) -> Embeddings:
        """e_s(x) as L_sem compares with it."""
        z = self.z[domain]
        return lax.stop_gradient(z) if self.model.weights.semantic_detach else z

    @cached_property
    def z_translated(self) -> dict[Direction, Embeddings]:
        """{(source, target): e_t of the translation}."""
        found: dict[Direction, Embeddings] = {}
        for directions in self.model.rounds:
            translated = {t: self.pictures[s, t] for s, t in directions}
            z, _ = self.model.encode(self.params, self.extra, translated, train=True)
            found |= {(s, t): z[t] for s, t in directions}
        return found

    @cached_property
    def standardised(self) -> dict[Direction, tuple[Embeddings, Embeddings]]:
        """{(source, target): e_s of a picture and e_t of its translation, in units of the first's spread}."""
        found = {}
        for s, t in self.model.in_rounds:
            z = self.source(s)
            found[s, t] = losses.standardise(z, z), losses.standardise(self.z_translated[s, t], z)
        return found

    @cached_property
    def returned(self) -> dict[Direction, Images]:
        """{(source, target): the translation's embedding, decoded back as the source}."""
        found: dict[Direction, Images] = {}
        for directions in self.model.rounds:
            z = {t: self.z_translated[s, t] for s, t in directions}
            back = tuple((t, s) for s, t in directions)
            pictures, _ = self.model.decode(self.params, self.extra, z, back, train=True)
            found |= {(s, t): pictures[t, s] for s, t in directions}
        return found

    @cached_property
    def same(self) -> dict[Direction, Images]:
        """{(source, target): a picture of the target, translated as if it were of the source}."""
        found: dict[Direction, Images] = {}
        for directions in self.model.rounds:
            as_source = {s: self.batch[t] for s, t in directions}
            z, _ = self.model.encode(self.params, self.extra, as_source, train=True)
            found |= self.model.decode(self.params, self.extra, z, directions, train=True)[0]
        return found

    @cached_property
    def of_reals(self) -> dict[str, Float[Array, "b"]]:
        """{domain: its discriminator's logits of real pictures}."""
        model = self.model
        return {t: model.discriminate(self.params, t, self.batch[t], self.of_real) for t in model.judged}

    @cached_property
    def of_fakes(self) -> dict[Direction, Float[Array, "b"]]:
        """{(source, target): the target's discriminator's logits of translations}, for its own losses."""
        return {
            (s, t): self.model.discriminate(
                self.params, t, lax.stop_gradient(self.pictures[s, t]), self.of_fake
            )
            for s, t in self.model.directions
            if t in self.model.judged
        }


def build(config: Config) -> XGAN:
    """XGAN as `config` describes it.

    A teacher (L_teach, any frozen embedding of pictures of the first domain) is named by
    `config.networks.teacher`, see `method.load_teacher`; its parameters become the network "teacher".

    Raises:
      ValueError: settings that do not make sense together; the sentence says which, and what to use.
    """
    networks: Networks = config.networks
    weights: Weights = config.weights
    side, batch = networks.embedding_side, config.run.batch_size
    require(
        side <= max(1, config.data.size // 4),
        f"config.networks.embedding_side is {side}: use at most a quarter of config.data.size.",
    )
    require(
        networks.embedding_size % side**2 == 0,
        f"config.networks.embedding_size is {networks.embedding_size}, which a map of {side} x {side} "
        "cannot share equally: use a multiple.",
    )
    require(
        not (weights.semantic and weights.semantic_standardise) or batch >= 2,
        f"config.run.batch_size is {batch}, and the spread of one embedding is zero: "
        "use 2 or more, or --config.weights.semantic_standardise=False.",
    )
    require(
        not weights.contrastive or side > 1 or batch >= 2,
        f"config.run.batch_size is {batch}, and weights.contrastive chooses among the "
        "pictures of a batch: use 2 or more.",
    )
    require(
        not weights.teacher or bool(networks.teacher),
        "config.weights.teacher is set but config.networks.teacher is empty: "
        'name the function that loads it, "package.module:function".',
    )
    return XGAN(config)
