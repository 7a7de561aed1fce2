// The third process that test files share: {@link runFiles} says which.
import "./together.ts";
