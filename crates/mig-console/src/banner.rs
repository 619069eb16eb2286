//! The alligator.

/// Shown at the start.
pub(crate) const HELLO: &str = r"
 __  __ ___ ____
|  \/  |_ _/ ___|            .--.___                       _
| |\/| || | |  _     __..---' (o)   '---.._____.---._.---.' '-._
| |  | || | |_| |   / ..  _                  ^  ^  ^  ^  ^  ^   '-._
|_|  |_|___\____|   '-vVvVvVvVvV--.__ .                  .          '-._
 the investi-gator       '^^^^^^^^-'/ /-.___.--.______.-'\ \.__________ '-.
                                   (((                   (((           '--._)
";

/// Shown when it is left.
pub(crate) const GOODBYE: &str = r"
                 _..._
   ~ ~ ~ ~ ~ .--'(o)  '--.__.-._.-._ ~ ~ ~ ~ ~ ~
 ~ ~ ~ ~ ~ ~ ~ ~ ~ ~ ~ ~ ~ ~ ~ ~ ~ ~ '-._ ~ ~ ~
   ~ ~ ~ ~ ~ ~ ~ ~ ~ ~ ~ ~ ~ ~ ~ ~ ~ ~ ~ ~ ~ ~
              Gators are going back underwater.";
