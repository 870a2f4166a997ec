import pytest, json, math
from tests.train.test_every_objective import losses, SHORT, records
from tests.train.tiny_tasks import CASES, rows_of
EMPTY={"text":{"text":""},"labelled":{"text":""},"pair":{"text":"","second":""},"scored":{"text":""},"tagged":{"words":"[]","label":"[]"},"translation":{"text":"","target":""},
"conversation":{"messages":json.dumps([{"role":"user","content":"only asks"}])},"preference":{"prompt":"","chosen":"","rejected":""},"prompt":{"prompt":"","answer":"e"}}
LONG={"text":{"text":"the cat "*200},"labelled":{"text":"the cat "*200},"pair":{"text":"the cat "*200,"second":"a dog "*100},"scored":{"text":"x "*300},"tagged":{"words":json.dumps(["cat"]*100),"label":json.dumps(["noun"]*99+[None])},"translation":{"text":"a "*300,"target":"b "*300},
"conversation":{"messages":json.dumps([{"role":"user","content":"cat "*10},{"role":"assistant","content":"dog "*100}])},"preference":{"prompt":"cat "*100,"chosen":"dog "*100,"rejected":"x"},"prompt":{"prompt":"cat "*100,"answer":"e"}}
@pytest.mark.parametrize("c",[c for c in CASES if "pretrained-lora" not in c])
@pytest.mark.parametrize("what",["few","empty","long","nulls"])
def test_z(trained, quick_processes,c,what):
    k=CASES[c].rows
    tr=rows_of(k,3 if what=="few" else 40); va=rows_of(k,1 if what=="few" else 16,1)
    if what in("empty","long"):
        for n,v in (EMPTY if what=="empty" else LONG)[k].items():
            for s in (tr,va):
                for i in range(0,len(s[n]),4): s[n][i]=v
    if what=="nulls":
        if "label" not in tr or k in("tagged","scored"): pytest.skip()
        for s in (tr,va):
            for i in range(0,len(s["label"]),2): s["label"][i]=None
    rows={k:{"train":tr,"validation":va}}
    try:
        one=trained(c,"one",rows=rows,dropout=0.0,**SHORT); two=trained(c,"two",rows=rows,dropout=0.0,processes=2,**SHORT)
    except Exception as e:
        with open("/tmp/i1/z.txt","a") as o: print(what,c,"|",type(e).__name__,str(e)[-900:].replace("\n"," / "),file=o)
        raise
    d=max(abs(a-b) for a,b in zip(losses(one),losses(two)))
    v=one.result()["validation"]; bad=[n for n,x in v.items() if n!="bits_per_byte" and not math.isfinite(x)]
    if d>1e-5 or bad:
        with open("/tmp/i1/z.txt","a") as o: print(what,c,"diff",d,bad,v,[f"{a-b:.1e}" for a,b in zip(losses(one),losses(two))],file=o)
    assert d<1e-5 and not bad
