"""Text of a language model, and digits of a PixelCNN, in fewer passes and with the tokens and pixels of the loop."""

import logging

import torch
from transformers import GPT2Config, GPT2LMHeadModel

from forerun import Picard, Sequential
from forerun.sequence import Fill, Gumbel, generate, sample
from forerun.worlds.digits import load_pixelcnn

logging.getLogger("transformers").setLevel(logging.ERROR)
torch.set_num_threads(1)
torch.manual_seed(0)

# any causal language model of transformers; this one is tiny and has learnt to say one sentence
sentence = [ord(letter) for letter in "what is said twice is said in half the passes. "]
config = GPT2Config(vocab_size=128, n_embd=48, n_layer=2, n_head=4, bos_token_id=0, eos_token_id=None, pad_token_id=0)
model = GPT2LMHeadModel(config)
text = torch.tensor([sentence * 3])
optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
for _ in range(80):
    optimizer.zero_grad()
    model(input_ids=text, labels=text).loss.backward()
    optimizer.step()
model.eval()

prompt = text[:, : len(sentence) + 5]
ahead = generate(model, prompt, max_new_tokens=90, window=8)
loop = model.generate(prompt, attention_mask=torch.ones_like(prompt), max_new_tokens=90, do_sample=False)
print("".join(map(chr, ahead.tokens[0].tolist())))
print(f"{ahead.rounds} passes for 90 tokens, the tokens of model.generate: {torch.equal(ahead.tokens, loop)}")

warm = Gumbel(seed=1, temperature=1.2)  # a sample whose noise belongs to the step
ahead = generate(model, prompt, max_new_tokens=90, window=8, choice=warm)
loop = generate(model, prompt, max_new_tokens=90, choice=warm, method=Sequential())
same = torch.equal(ahead.tokens, loop.tokens)
print(f"{ahead.rounds} passes for a sample of 90 tokens, that of the loop: {same}")

network, noise = load_pixelcnn(), torch.rand(6, 64)
ahead = sample(network, noise, method=Picard(), guess=Fill(-1.0), cached=True)
loop = sample(network, noise, method=Sequential())
same = torch.equal(ahead.images, loop.images)
print(f"{ahead.rounds} passes for 64 pixels, those of the loop: {same}")
for row in ahead.images.reshape(6, 8, 8).transpose(0, 1):
    lines = ("".join(" .:+#@"[int((pixel.item() + 1) * 2.99)] * 2 for pixel in digit.clamp(-1, 0.99)) for digit in row)
    print("   ".join(lines))
