"""The tokenizer of the shipped models: byte-level BPE that writes numbers digit by digit.

No token stands before a text (there is no BOS); ``<eos>`` ends one, ``<pad>`` fills batches.
"""

from collections.abc import Iterable

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

VOCABULARY = 3072
END, PAD = "<eos>", "<pad>"


def train_tokenizer(
    texts: Iterable[str], vocabulary: int = VOCABULARY, max_length: int = 256
) -> PreTrainedTokenizerFast:
    """Learn a byte-level BPE vocabulary (Sennrich et al. 2016, arXiv:1508.07909).

    Args:
        texts: what the merges are learned from; the same texts give the same tokenizer.
        vocabulary: number of tokens, at least 258 (the bytes, end and padding).
        max_length: context window of the models it is for, in tokens.
    """
    bpe = Tokenizer(models.BPE())
    # A number is a blank and its digits: " 41" becomes " ", "4", "1", wherever it stands.
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[END, PAD],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    bpe.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        eos_token=END,
        pad_token=PAD,
        model_max_length=max_length,
        clean_up_tokenization_spaces=False,
    )
