// The work list of a weight-gradient tile. Products are formed in passes over the pixels of dz; in a pass each of
// OutLanes * 6 slots has a tap (one of 3 x 3 x 8 values of x: the window) and two channels of dz.
//
// - Order: output block, word of x, window (3 x 3 taps of the kernel from (list_row_o, list_column_o) on, fewer at its
//   edges), passes. A pass holds undecided elements only (without SELECTIVE all are). After the last pass of a block
//   comes one item with list_end_o and no slot.
// - Slots belong to four classes of OutLanes * 3 / 2: class = 2 * half + part; half: channels 0 .. OutLanes/2 - 1 of
//   the block or the others; part: channels 0..3 or 4..7 of the word of x. Slot s belongs to class s / (OutLanes * 3 / 2).
// - list_tap_o of a slot (6 bits): ((row in the window * 3) + column in the window) * 4 + channel of x mod 4, 0..35.
//   list_lane_o: two channels of dz mod (OutLanes / 2); list_on_o: bit 0 the first is there, bit 1 the second, too.
// - While CORE works on a pass, the next one is made: list_valid_o says that all slots are steady; they are taken with
//   list_ready_i (copy them: the registers are refilled from the next cycle on).
// - Signs (SELECTIVE and LAST): sign_start_i (pulse) with sign_block_i asks for the results of an output block, in the order
//   word of x, kernel row, kernel column, channel of x (8): for each of the block's OutLanes channels whether its sign was
//   predicted, and whether it is negative. All of them have to be taken before the next sign_start_i, the next
//   start_i, and the next start of the predictor. Signs of a block may be fetched while lists of later ones are made.
// - start_i: pulse; tile_i steady until the last list_end_o was taken and, where signs are fetched, until they have been taken.
`default_nettype none

module jb_scheduler #(
  parameter int OutLanes = 16,    // channels of dz in an output block
  parameter int Depth    = 2304   // words of the predictor's sums
) (
  input  wire logic                                   clk_i,
  input  wire logic                                   rst_ni,
  input  wire logic                                   start_i,
  input  wire logic [1023:0]                          tile_i,
  input  wire logic [35:0]                            peak_i,          // of jb_predictor
  output      logic                                   busy_o,          // from start_i until the last list_end_o was taken
  // jb_predictor
  output      logic                                   read_valid_o,
  output      logic [$clog2(Depth)-1:0]               read_address_o,
  output      logic [35:0]                            read_limit_o,
  input  wire logic                                   read_valid_i,
  input  wire logic [OutLanes-1:0]                    read_above_i,
  input  wire logic [OutLanes-1:0]                    read_negative_i,
  // Lists
  output      logic                                   list_valid_o,
  input  wire logic                                   list_ready_i,
  output      logic                                   list_end_o,
  output      logic [15:0]                            list_block_o,    // absolute: out_block + 0, 1, ...
  output      logic [15:0]                            list_word_o,
  output      logic [7:0]                             list_row_o,
  output      logic [7:0]                             list_column_o,
  output      logic [OutLanes*6*6-1:0]                list_tap_o,
  output      logic [OutLanes*6*2*$clog2(OutLanes/2)-1:0] list_lane_o,
  output      logic [OutLanes*6*2-1:0]                list_on_o,
  // Signs
  input  wire logic                                   sign_start_i,
  input  wire logic [15:0]                            sign_block_i,    // absolute
  output      logic                                   sign_valid_o,
  input  wire logic                                   sign_ready_i,
  output      logic [OutLanes-1:0]                    sign_decided_o,
  output      logic [OutLanes-1:0]                    sign_negative_o,
  // Counts of the tile, steady when not busy
  output      logic [31:0]                            decided_o,       // elements (channels of padding included, as undecided)
  output      logic [31:0]                            undecided_o,
  output      logic [63:0]                            macs_gated_o     // decided_o * pixels of dz
);
endmodule

`default_nettype wire
