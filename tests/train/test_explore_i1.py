import pytest, traceback
from curate.train.folder import read_metrics
from curate.errors import CurateError
import tests.train.tiny_tasks as tt
from tests.train.tiny_tasks import Case, CASES, CLASSIFY, REINFORCE, rows_of
X = {
 "sft-pretrained": Case("conversation", {"kind":"sft"}, (), ("loss",0), {"kind":"pretrained","path":"gpt2"}, settings={"batch":{"document_mask":False}}),
 "sft-lstm": Case("conversation", {"kind":"sft"}, (), ("loss",0), tt.LSTM),
 "preference-pretrained": Case("preference", {"kind":"preference"}, (), ("loss",0), {"kind":"pretrained","path":"gpt2"}),
 "preference-pretrained-lora": Case("preference", {"kind":"preference"}, (), ("loss",0), {"kind":"pretrained","path":"bert-x"}),
 "tok-decoder": Case("tagged", {"kind":"token_classification"}, (), ("loss",0)),
 "tok-pretrained": Case("tagged", {"kind":"token_classification"}, (), ("loss",0), {"kind":"pretrained","path":"bert"}),
 "cls-pretrained-gpt2": Case("labelled", CLASSIFY, (), ("loss",0), {"kind":"pretrained","path":"gpt2"}),
 "regr-cnn": Case("scored", {**CLASSIFY,"regression":True}, (), ("loss",0), tt.CNN),
 "causal-nomask": Case("text", {"kind":"causal"}, (), ("loss",0), settings={"batch":{"document_mask":False}}),
 "masked-nomask": Case("text", {"kind":"masked"}, (), ("loss",0), tt.ENCODER, settings={"batch":{"document_mask":False}}),
 "mt-nomask": Case("text", {"kind":"multi_token","heads":2}, (), ("loss",0), {"layers":3}, settings={"batch":{"document_mask":False}}),
 "reinf-gpt2": Case("prompt", {**REINFORCE,"kl":0.1}, (), ("loss",0), tt.GPT2),
 "distil-lstm": Case("text", {"kind":"distillation","teacher":"teacher"}, (), ("loss",0), tt.LSTM),
}
for k,v in X.items(): CASES[k]=v
SHORT = {"steps": 8, "checkpoint_every": 3, "validation": {"every": 4}}
from tests.train.test_every_objective import records
EXTRA = {k:(k,{}) for k in X}
MIX=lambda kind: {"mixture":{kind:3,"more":1},"rows":{kind:{"train":rows_of(kind,48),"validation":rows_of(kind,16,1)},"more":{"train":rows_of(kind,12,2),"validation":rows_of(kind,4,3)}}}
for c in ("causal","sft","preference","seq2seq","reinforcement","token_classification","pairs","masked"):
    EXTRA["mix-"+c]=(c,MIX(CASES[c].rows))
for c in ("classification","token_classification","seq2seq","masked","causal-lstm","causal-gpt2","causal-pretrained","classification-cnn", "classification-lstm","sft"):
    for k in ("fgm","freelb"):
        EXTRA[f"adv-{k}-{c}"]=(c,{"adversarial":{"kind":k,"epsilon":.1,"steps":2}})
for c in ("multi_token","masked","sft","seq2seq","classification","distillation","causal-pretrained","token_classification","classification-lstm"):
    t={"causal-pretrained":["c_attn"],"classification-lstm":["query"],"seq2seq":["query","value"]}.get(c,["query"])
    EXTRA["lora-"+c]=(c,{"lora":{"rank":2,"targets":t}})
for c in CASES:
    if c in X: continue
    EXTRA["bf16-"+c]=(c,{"precision":"bf16"})
    EXTRA["recompute-"+c]=(c,{"recompute":True})
    EXTRA["muon-"+c]=(c,{"optimizer":{"kind":"muon","average":.9}})
    EXTRA["early-"+c]=(c,{"early_stopping":{"patience":1}})
for c in CASES:
    if CASES[c].rows in ("text","labelled","prompt","tagged","conversation","preference","translation","scored"):
        k=CASES[c].rows
        EXTRA["hard-"+c]=(c,{"curriculum":{"difficulty":True},"data":{"difficulty":"hard"},"rows":{k:{"train":rows_of(k,48,hard=lambda n:float(n%7)),"validation":rows_of(k,16,1,hard=lambda n:1.0)}}})
        EXTRA["weight-"+c]=(c,{"data":{"weight":"hard"},"rows":{k:{"train":rows_of(k,48,hard=lambda n:float(n%3)),"validation":rows_of(k,16,1,hard=lambda n:1.0)}}})
for c in ("masked","multi_token","distillation","causal-lstm"):
    EXTRA["lengths-"+c]=(c,{"curriculum":{"lengths":[8,16]}})
EXTRA["lengths-hard-w"]=("causal",{"curriculum":{"lengths":[8,16],"difficulty":True},"data":{"difficulty":"hard","weight":"hard"},"rows":{"text":{"train":rows_of("text",48,hard=lambda n:float(n%7)),"validation":rows_of("text",16,1,hard=lambda n:1.0)}}})

from tests.train.test_every_method import without_dropout
from tests.train.test_every_method import METHODS
def origin(path, kind=None):
    return path
ORIG = {
 "o-cls-teacher": ("classification-decoder", "teacher", {}),
 "o-cls-bert": ("classification", "bert", {}),
 "o-masked-bert": ("masked", "bert", {}),
 "o-pairs-bert-lora": ("pairs", "bert", {"lora":{"rank":2}}),
 "o-causal-gpt2": ("causal-gpt2", "gpt2", {}),
 "o-mt-gpt2": ("multi_token", "gpt2", {}),
 "o-mt-teacher": ("multi_token", "teacher", {}),
 "o-pref-teacher": ("preference", "teacher", {}),
 "o-pref-teacher-lora": ("preference", "teacher", {"lora":{"rank":2}}),
 "o-rl-teacher": ("reinforcement", "teacher", {}),
 "o-rl-teacher-lora": ("reinforcement", "teacher", {"lora":{"rank":2}}),
 "o-distil-teacher": ("distillation", "teacher", {}),
 "o-sft-gpt2": ("sft", "gpt2", {}),
}
@pytest.mark.parametrize("name", ORIG)
def test_o(trained, parameters, tiny_origins, name):
    case, path, settings = ORIG[name]
    p = tiny_origins(path, 0.1)
    settings = {**settings, "model":{"path":str(p)}}
    if path=="teacher": settings["tokenizer"]={"path":str(p/"tokenizer.json")}
    try:
        straight = trained(case, "straight", **SHORT, **settings)
        trained(case, "resumed", until=5, **SHORT, **settings)
        resumed = trained(case, "resumed", **SHORT, **settings)
        s=without_dropout(settings)
        one = trained(case, "one", dropout=0.0, **SHORT, **s)
        two = trained(case, "two", dropout=0.0, processes=2, **SHORT, **s)
    except Exception as e:
        with open("/tmp/i1/explore.txt","a") as o: print(name, "|", type(e).__name__, str(e)[:600].replace("\n"," / "), file=o)
        raise
    assert parameters(resumed) == parameters(straight)
    assert records(resumed) == records(straight)
    l=lambda f:[r["loss"] for r in records(f)]
    with open("/tmp/i1/explore.txt","a") as o: print(name, "ok", l(one), max(abs(x-y) for x,y in zip(l(one),l(two))), file=o)
    assert l(two)==pytest.approx(l(one),abs=1e-5)

@pytest.mark.parametrize("name", [n for n in EXTRA if not n.startswith(("early","recompute"))])
def test_y(trained, parameters, name, quick_processes):
    case, settings = EXTRA[name]
    settings=without_dropout(settings)
    one = trained(case, "one", dropout=0.0, **SHORT, **settings)
    two = trained(case, "two", dropout=0.0, processes=2, **SHORT, **settings)
    l=lambda f:[r["loss"] for r in records(f)]
    d=max(abs(x-y) for x,y in zip(l(one),l(two)))
    for f,w in zip(records(two),records(one)):
        f.pop("validation",None); w.pop("validation",None)
        bad={k:(f[k],w[k]) for k in w if not f[k]==pytest.approx(w[k],rel=1e-3,abs=1e-4)}
        if bad: break
    if d>1e-5 or bad:
        with open("/tmp/i1/explore2.txt","a") as o: print(name, d, bad, file=o)
    assert d<1e-5 and not bad
