// Where the focus was when a panel opened, and back there when it closes: on its button for who came by Tab, on no button for
// who pressed its key, because a button that has the focus takes Space and Enter for itself.

/** @param {{focus: (id: string) => void}} actionButtons they are drawn anew in between, so theirs is found by its action */
export function createFocusBack(actionButtons) {
  /** @type {HTMLElement|null} */ let before = null;
  return {
    /** Before the panel opens. */
    keep() { before = /** @type {HTMLElement|null} */ (document.activeElement); },
    /** After it closed, if the focus was in it. */
    giveBack() {
      /** @type {HTMLElement|null} */ (document.activeElement)?.blur();
      if (before?.dataset.action) actionButtons.focus(before.dataset.action);
      else before?.focus();
      before = null;
    },
  };
}
