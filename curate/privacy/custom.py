"""Recognizers that a pipeline file names: Presidio's others, patterns, and classes of the user's own.

They see whole texts, but only texts that hold what their patterns begin with: a trigger for RE2 is made of the patterns
(word boundaries and look-arounds taken out, classes of characters for all scripts), or given as `trigger`; where there is
none, every text is looked at. A pattern that takes more than 5 CPU seconds on a text ends there, and the document is
quarantined (`system_failed`, PatternTimeout), never passed on as if nothing had been found: Presidio's own limit is 60
seconds, behind which it goes on.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from curate.errors import CurateError, did_you_mean
from curate.privacy.limits import bound
from curate.privacy.recognizers import TYPES, AllScripts, Recognizer, rule_of, with_context
from curate.privacy.scripts import narrow
from curate.stages.contract import Span
from curate.stages.lean import without
from curate.stages.missing import needing

if TYPE_CHECKING:
    from presidio_analyzer import EntityRecognizer

__all__ = ["PRESIDIO", "CustomRecognizer", "load_custom", "trigger_of"]

EVERY_TEXT = "(?:)"
_OF_PRESIDIO = """
    AbaRouting ABA_ROUTING_NUMBER, AuAbn AU_ABN, AuAcn AU_ACN, AuMedicare AU_MEDICARE, AuTfn AU_TFN,
    CaPostalCode CA_POSTAL_CODE, CaSin CA_SIN, Date DATE_TIME, DeBsnr DE_BSNR, DeFuehrerschein DE_FUEHRERSCHEIN,
    DeHandelsregister DE_HANDELSREGISTER, DeHealthInsurance DE_HEALTH_INSURANCE, DeIdCard DE_ID_CARD, DeKfz DE_KFZ,
    DeLanr DE_LANR, DePassport DE_PASSPORT, DePlz DE_PLZ, DeSocialSecurity DE_SOCIAL_SECURITY, DeTaxId DE_TAX_ID,
    DeTaxNumber DE_TAX_NUMBER, DeVatId DE_VAT_ID, EsNie ES_NIE, EsNif ES_NIF, EsPassport ES_PASSPORT,
    FiPersonalIdentityCode FI_PERSONAL_IDENTITY_CODE, InAadhaar IN_AADHAAR, InGstin IN_GSTIN, InPan IN_PAN,
    InPassport IN_PASSPORT, InVehicleRegistration IN_VEHICLE_REGISTRATION, InVoter IN_VOTER,
    ItDriverLicense IT_DRIVER_LICENSE, ItFiscalCode IT_FISCAL_CODE, ItIdentityCard IT_IDENTITY_CARD,
    ItPassport IT_PASSPORT, ItVatCode IT_VAT_CODE, KrBrn KR_BRN, KrDriverLicense KR_DRIVER_LICENSE, KrFrn KR_FRN,
    KrPassport KR_PASSPORT, KrRrn KR_RRN, MedicalLicense MEDICAL_LICENSE, NgNin NG_NIN,
    NgVehicleRegistration NG_VEHICLE_REGISTRATION, Nhs UK_NHS, PhPassport PH_PASSPORT, PhTin PH_TIN, PhUmid PH_UMID,
    PlPesel PL_PESEL, SeOrganisationsnummer SE_ORGANISATIONSNUMMER, SePersonnummer SE_PERSONNUMMER, SgFin SG_NRIC_FIN,
    SgUen SG_UEN, ThTnin TH_TNIN, TrLicensePlate TR_LICENSE_PLATE, TrNationalId TR_NATIONAL_ID,
    UkDrivingLicence UK_DRIVING_LICENCE, UkNino UK_NINO, UkPassport UK_PASSPORT, UkPostcode UK_POSTCODE,
    UkVehicleRegistration UK_VEHICLE_REGISTRATION, Url URL, UsBank US_BANK_NUMBER, UsClaimNumber US_CLAIM_NUMBER,
    UsHealthInsuranceMemberId US_HEALTH_INSURANCE_MEMBER_ID, UsItin US_ITIN, UsLicense US_DRIVER_LICENSE, UsMbi US_MBI,
    UsNpi US_NPI, UsPassport US_PASSPORT, UsPrescriptionNumber US_PRESCRIPTION_NUMBER,
    UsPriorAuthorizationNumber US_PRIOR_AUTHORIZATION_NUMBER, UsProviderTaxId US_PROVIDER_TAX_ID,
    UsReferralNumber US_REFERRAL_NUMBER, Uuid UUID, ZaCompanyRegistration ZA_COMPANY_REGISTRATION,
    ZaDriverLicense ZA_DRIVER_LICENSE, ZaIdNumber ZA_ID_NUMBER, ZaIncomeTaxNumber ZA_INCOME_TAX_NUMBER,
    ZaLicensePlate ZA_LICENSE_PLATE, ZaMobileNumber ZA_MOBILE_NUMBER, ZaPassport ZA_PASSPORT,
    ZaTelephoneNumber ZA_TELEPHONE_NUMBER, ZaTrafficRegisterNumber ZA_TRAFFIC_REGISTER_NUMBER, ZaVatNumber ZA_VAT_NUMBER
"""
PRESIDIO: dict[str, str] = dict(
    (f"{name}Recognizer", entity) for name, entity in (one.split() for one in _OF_PRESIDIO.split(","))
)
"""Presidio's recognizers that are forms (no model, no service) and not among `entities`, and what they find."""
_ENTITY = re.compile(r"[A-Z][A-Z0-9_]*")
_CLASS = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")


class CustomRecognizer(BaseModel):
    """A recognizer of Presidio's (`use: UkNinoRecognizer`), of the user's (`use: module:Class`), or patterns."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    use: str | None = Field(
        None,
        description="The name of one of Presidio's recognizers, or `module:Class`: a class without arguments whose objects "
        "have Presidio's `analyze(text, entities, nlp_artifacts)`, beside the pipeline file.",
    )
    name: str | None = Field(None, description="What patterns are called in the ledger; by default the entity.")
    entity: str | None = Field(
        None, description="What is found: a name in capitals (`EMPLOYEE_ID`), or one of `entities` (`phone`)."
    )
    patterns: tuple[str, ...] = Field(
        (), description="Regular expressions; as in Presidio, capitals and small letters are the same."
    )
    context: tuple[str, ...] = Field(
        (), description="Words that make it more certain: 0.35 more where one of the five words before holds one."
    )
    score: float = Field(0.6, gt=0, le=1, description="How certain a match of the patterns is.")
    trigger: str | None = Field(
        None,
        description="What every text that holds it holds, for RE2; made of the patterns unless told. Where that cannot be done "
        "every text is looked at.",
    )

    @model_validator(mode="before")
    @classmethod
    def _a_name_alone(cls, value: Any) -> Any:
        return {"use": value} if isinstance(value, str) else value

    @field_validator("patterns")
    @classmethod
    def _patterns_are_patterns(cls, patterns: tuple[str, ...]) -> tuple[str, ...]:
        import regex

        for pattern in patterns:
            try:
                compiled = regex.compile(pattern)
            except regex.error as error:
                raise ValueError(f"`{pattern}` is no regular expression: {error}") from None
            if compiled.search(""):
                raise ValueError(f"`{pattern}` is found in the empty text, so everywhere")
        return patterns

    @field_validator("trigger")
    @classmethod
    def _trigger_is_for_re2(cls, trigger: str | None) -> str | None:
        if trigger is not None and not _for_re2(trigger):
            raise ValueError(
                f"`{trigger}` is no regular expression of RE2, which has no look-arounds and back-references"
            )
        return trigger

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if bool(self.use) == bool(self.patterns):
            raise ValueError("a recognizer has `use:` or `patterns:`, and not both")
        of_patterns = ("name", "context", "score")
        given = [one for one in of_patterns if getattr(self, one) != type(self).model_fields[one].default]
        if self.use and given:
            raise ValueError(f"`{given[0]}` is for `patterns:`; a class has its own")
        if self.use and self.use not in PRESIDIO and not _CLASS.fullmatch(self.use):
            hint = did_you_mean(self.use, PRESIDIO) or "one of Presidio's, or `module:Class`"
            raise ValueError(f"no recognizer is called `{self.use}`; {hint}")
        if self.entity is None and self.use not in PRESIDIO:
            raise ValueError("a recognizer of your own needs `entity:`, what it finds")
        if self.entity is not None and self.entity not in TYPES:
            if not _ENTITY.fullmatch(self.entity):
                raise ValueError(
                    f"`{self.entity}` is no name of an entity: capitals, digits and `_`, like `EMPLOYEE_ID`"
                )
            if self.entity in TYPES.values():
                known = next(entity for entity, kind in TYPES.items() if kind == self.entity)
                raise ValueError(f"`{self.entity}` is called `{known}` here")
        return self

    @property
    def finds(self) -> str:
        """The entity."""
        return self.entity or PRESIDIO[str(self.use)]

    @property
    def module(self) -> str | None:
        """The module of the user's class."""
        return self.use.partition(":")[0] if self.use and ":" in self.use else None

    @property
    def sees_every_text(self) -> bool:
        """Whether its patterns tell nothing that a text must hold."""
        return bool(self.patterns) and self.trigger is None and trigger_of(self.patterns) is None

    def check(self) -> None:
        """Raise a `CurateError` where the user's module is not there, or its class is none; runs the module."""
        if self.module is None:
            return
        try:
            there = find_spec(self.module) is not None
        except (ImportError, ValueError):
            there = False
        if not there:
            raise CurateError(
                f"the recognizer `{self.use}` cannot be imported: there is no module `{self.module}`",
                hint=f"is `{self.module}` on PYTHONPATH, or beside the pipeline file?",
            )
        with without("torch", "transformers"), needing("pii"), _for_a_look(self.module):
            import_module("presidio_analyzer")  # its absence is the machine's fault, not the module's
            _of_class(self)


@contextmanager
def _for_a_look(module: str) -> Iterator[None]:
    """A module that is imported inside of the block is forgotten behind it: a later run has its code of then."""
    there = module in sys.modules
    try:
        yield
    finally:
        if not there:
            sys.modules.pop(module, None)


# ---- loading


def load_custom(entries: Sequence[CustomRecognizer]) -> list[Recognizer]:
    """The recognizers, ready to use.

    Raises:
        CurateError: A class cannot be imported, made, or does not analyze.
    """
    if not entries:
        return []
    _stay_offline()
    return [_loaded(entry) for entry in entries]


def _loaded(entry: CustomRecognizer) -> Recognizer:
    with without("torch", "transformers"):
        analyzer = _of_patterns(entry) if entry.patterns else _of_class(entry)
    patterns = getattr(analyzer, "patterns", None)
    bound(analyzer)
    trigger = entry.trigger or (trigger_of([one.regex for one in patterns]) if patterns else None)
    kind = TYPES.get(entry.finds, entry.finds)  # type: ignore[call-overload]
    return Recognizer((kind,), _finder(analyzer, kind, entry), trigger or EVERY_TEXT)


def _finder(analyzer: Any, kind: str, entry: CustomRecognizer) -> Callable[[str], list[Span]]:
    context = tuple(word.lower() for word in getattr(analyzer, "context", None) or ())
    name = entry.name or (entry.use or entry.finds).rpartition(":")[2]
    asked = list(getattr(analyzer, "supported_entities", None) or [kind])
    everywhere = AllScripts(analyzer, foreign=True)

    def find(text: str) -> list[Span]:
        plain = narrow(text)
        spans = []
        for found in everywhere.analyze(text, asked, None):
            score = found.score if found.score >= 1 else with_context(plain, found.start, found.score, context)
            spans.append(Span(found.start, found.end, kind, score, rule_of(found, name)))
        return spans

    return find


def _of_patterns(entry: CustomRecognizer) -> EntityRecognizer:
    from presidio_analyzer import Pattern, PatternRecognizer

    patterns = [Pattern(f"pattern {number}", one, entry.score) for number, one in enumerate(entry.patterns, 1)]
    return PatternRecognizer(
        entry.finds, name=entry.name or entry.finds, patterns=patterns, context=list(entry.context)
    )


def _of_class(entry: CustomRecognizer) -> Any:
    assert entry.use is not None
    module, _, name = entry.use.rpartition(":")
    module = module or "presidio_analyzer.predefined_recognizers"
    try:
        imported = import_module(module)
    except Exception as error:  # the user's own module may fail in any way
        raise CurateError(
            f"the recognizer `{entry.use}` cannot be imported: {type(error).__name__}: {error}"
        ) from error
    kind = getattr(imported, name, None)
    if kind is None:
        known = [key for key, value in vars(imported).items() if isinstance(value, type)]
        raise CurateError(
            f"the recognizer `{entry.use}` cannot be imported: `{module}` has no class `{name}`",
            hint=did_you_mean(name, known),
        )
    try:
        made = kind()
    except Exception as error:  # and so may its class
        raise CurateError(
            f"the recognizer `{entry.use}` cannot be made: {type(error).__name__}: {error}",
            hint="it is called without arguments",
        ) from error
    if not callable(getattr(made, "analyze", None)):
        raise CurateError(
            f"`{entry.use}` is no recognizer: it has no `analyze`",
            hint="make it a subclass of Presidio's EntityRecognizer",
        )
    return made


def _stay_offline() -> None:
    """Domains are looked up in the list that tldextract ships, whoever asks: its own first step is the network."""
    import tldextract
    import tldextract.tldextract as module

    offline = tldextract.TLDExtract(suffix_list_urls=(), cache_dir=None)
    module.TLD_EXTRACTOR = offline
    tldextract.extract = offline


# ---- triggers


def trigger_of(patterns: Sequence[str]) -> str | None:
    """What every text in which one of the patterns is found holds, for RE2; None where that cannot be told."""
    made = [_trigger(pattern) for pattern in patterns]
    known = [one for one in made if one is not None]
    return "|".join(f"(?ims:{one})" for one in known) if known and len(known) == len(made) else None


_WIDER = {"d": r"\pN", "w": r"\pL\pM\pN\p{Pc}\p{So}", "s": r"\s\pZ\x{1c}-\x{1f}\x{85}\x{0b}"}


def _trigger(pattern: str) -> str | None:
    unlike = r"\[\^[^]]*\\[dwsDWS]|\[\^?\]|\[\[|\(\?[a-zA-Z-]*x|\(\?P[=>]|\\[1-9KRGX]|\(\?[|(&>]"
    if re.search(unlike, pattern):
        return None  # what RE2 reads in another way, or not at all
    loose = re.sub(r"(?<!\\)\(\?<?[=!](?:\\.|[^()\\])*\)", "(?:)", pattern)
    if re.search(r"(?<!\\)\(\?<?[=!]", loose):
        return None
    made, inside, left = [], False, iter(re.findall(r"\\.|.", loose, re.DOTALL))
    for part in left:
        if part in (r"\b", r"\B") and not inside:
            made.append("(?:)")
        elif part[0] == "\\" and part[1:] in _WIDER:
            made.append(_WIDER[part[1]] if inside else f"[{_WIDER[part[1]]}]")
        else:
            inside = (inside or part == "[") and part != "]"
            made.append(part)
    trigger = "".join(made)
    return trigger if trigger and _for_re2(f"(?ims:{trigger})") else None


def _for_re2(pattern: str) -> bool:
    import pyarrow as pa
    import pyarrow.compute as compute

    try:
        compute.match_substring_regex(pa.array([""]), pattern)
    except pa.ArrowInvalid:
        return False
    return True
