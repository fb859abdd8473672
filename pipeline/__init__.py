"""How a run goes: source → mapping → validate → payloads → push → report."""
